"""What must outlast a restart, on the disk."""
