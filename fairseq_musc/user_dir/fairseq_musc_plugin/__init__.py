"""What ``--user-dir`` and ``common.user_dir`` point to (``fairseq-musc user-dir`` prints the path).

fairseq imports a user directory by name once, and skips it if a module of that name is there already. This package
itself may well be there, without having registered anything; this one is there only if it has.
"""

import fairseq_musc.registration  # noqa: F401
