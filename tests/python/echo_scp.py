"""A device that answers C-ECHO and offers nothing else. Prints its port, serves until standard input closes."""

import sys

from pynetdicom import AE
from pynetdicom.sop_class import Verification

ae = AE("ECHO")
ae.require_called_aet = True
ae.add_supported_context(Verification)
server = ae.start_server(("127.0.0.1", 0), block=False)
print(server.socket.getsockname()[1], flush=True)
sys.stdin.read()
server.shutdown()
