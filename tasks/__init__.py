"""What fairseq registers as tasks. Installed as ``fairseq_musc.tasks``.

fairseq imports this room by itself when it is given ``--user-dir`` or ``common.user_dir``, and of the other rooms only
``models``; so the registration of all components starts here too.
"""

import fairseq_musc.registration  # noqa: F401
