"""What a release needs: one version, every Python, and checks before anything is built."""
