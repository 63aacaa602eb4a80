"""What the contract tests run on: one rig for each thing that is behind an interface."""
