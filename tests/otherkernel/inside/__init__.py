"""What runs on the other kernel."""
