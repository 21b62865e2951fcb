"""Real servers for the tests: private ones, on free ports of 127.0.0.1, stopped, killed and started again at will."""
