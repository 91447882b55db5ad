"""`python -m goodstanding` is the same as `goodstanding`."""

import sys

from goodstanding.cli import main

sys.exit(main())
