"""lbctl: a layer-4 load balancer for imaging networks, in direct-routing mode on XDP."""

__version__ = "0.1.0"
