"""The forbidden network of no_network.py sees what reaches for one, whatever it is written in.

That nothing of ours does, from raw files to the exported model, is in test_whole_way.py.
"""

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest_plugins = ["no_network"]

PROGRAM = Path(sys.executable).with_name("fairseq-musc")


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("import urllib.request\nurllib.request.urlopen('https://example.org')", "getaddrinfo example.org (python"),
        ("import socket\nsocket.create_connection(('192.0.2.1', 80))", "getaddrinfo 192.0.2.1 (python"),
        ("import socket\nsocket.socket().connect(('192.0.2.1', 80))", "connect 192.0.2.1 (python"),
        ("import socket\nsocket.socket(type=2).sendto(b'x', ('192.0.2.1', 53))", "sendto 192.0.2.1 (python"),
        ("import socket\nsocket.gethostbyname('example.org')", "example.org (python"),
        ("import os\nos.system('bash -c \"echo > /dev/tcp/192.0.2.1/80\"')\nraise SystemExit(1)", "192.0.2.1 (bash)"),
    ],
)
def test_it_sees_python_and_its_children(no_network, code, seen):
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 1
    assert any(seen in line for line in no_network.reached_for())


def test_it_sees_what_is_not_python(no_network):
    code = "import datetime, torch.distributed as d\n"
    code += "d.TCPStore('192.0.2.1', 9, 1, False, timeout=datetime.timedelta(seconds=1))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 1
    assert any("192.0.2.1" in line for line in no_network.reached_for())


def test_processes_of_one_machine_talk_to_each_other(no_network):
    code = "from multiprocessing import Manager\nwith Manager() as m: print(m.list([1]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[1]\n", done.stderr
    assert no_network.reached_for() == []


def test_it_sees_the_hub_when_it_is_asked_for_by_name(no_network, world, tmp_path):
    """So a command that asked it unasked would be seen, though transformers tells nothing of it."""
    command = [PROGRAM, "binarize", "--corpora", world.corpora, "--data", tmp_path / "bin", "--tokenizer", "some/name"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None and not no_network.reached_for():
            time.sleep(0.1)
        running.kill()  # it would try for a minute
    assert any(line.startswith("getaddrinfo huggingface.co") for line in no_network.reached_for())
