"""Makes a read model's table anew from the log, beside the one that is served, and moves readers over to it."""
