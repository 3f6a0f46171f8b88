"""`python -m lamina`, where the command is not on the path."""

import sys

from lamina.cli import main

sys.exit(main())
