"""What every process needs before it has a job: settings, ports, sockets, logs and health."""
