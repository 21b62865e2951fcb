"""Every broker with every backend, held to the contract of workflows, and the page that tells what came of it."""
