"""`python -m dfcompiler` is `dfc`."""

import sys

from dfcompiler.cli import main

sys.exit(main())
