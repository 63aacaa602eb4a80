"""Control planes of clouds that unmodified SDKs talk to; what they rent is a host or nothing at all."""
