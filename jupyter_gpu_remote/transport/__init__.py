"""SSH to a machine: OpenSSH where there is one, paramiko elsewhere."""
