"""One file a contender: each trains the same network on the same pictures and prints one line of JSON."""
