"""What becomes the uWSGI of the pyuwsgi wheel. A program, executed by :mod:`.uwsgi_engine`; never imported.

It runs in the Python of the application's virtual environment, where neither Imperator nor pyuwsgi need be installed:
nothing but the standard library is imported, and pyuwsgi's extension module is loaded from where Imperator has it.

uWSGI reloads itself by executing its *original* command line anew, which is this program's. It counts how often in
UWSGI_RELOADS, so a count that has moved on since this command line was made means a reload: then the instance itself is
executed, with its own command line. It reads its configuration, puts the values of ``env`` into the environment (in the
wheel uWSGI cannot do that itself, Python having started before it) and comes back here.
"""

import json
import os
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader


def main() -> None:
    told = json.loads(sys.argv[1])
    if os.environ.get("UWSGI_RELOADS") != told["reloads"]:
        os.environ.update(told["give back"])
        os.execv(told["command"][0], told["command"])
    del sys.path[0]  # where this file is: nobody has to find anything there
    sys.argv[:] = ["uwsgi"]
    loader = ExtensionFileLoader("pyuwsgi", told["extension"])
    spec = spec_from_loader("pyuwsgi", loader)
    assert spec is not None
    uwsgi = module_from_spec(spec)
    loader.exec_module(uwsgi)
    uwsgi.run(["--binary-path", told["command"][0], "--ini", f"fd://{told['configuration']}"])


if __name__ == "__main__":
    main()
