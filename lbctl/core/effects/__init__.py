"""What a change of the declaration comes to: who is moved, who is touched, what it costs. Pure."""
