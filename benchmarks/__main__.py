import sys

from benchmarks.throughput import main

sys.exit(main())
