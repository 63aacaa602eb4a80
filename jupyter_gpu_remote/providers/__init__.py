"""Where machines come from; one file for each cloud, found by entry point."""
