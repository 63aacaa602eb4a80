"""What runs on the machine: a daemon that owns kernels and keeps a journal of each.

An island: it imports its own files, the standard library and what its environment there has (pyzmq,
inotify_simple), for it is copied to the machine without the rest of the package.
"""
