"""Buckets: mounted on machines, and read from here.

`urls` says what a bucket is; `aws` and `gcp` open the way to one, with credentials for it alone; `mounts` has
machines mount it; `browse` reads it from here.
"""
