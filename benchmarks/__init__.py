"""What osteo-edge costs on the machine it runs on; run from the repository, never installed."""
