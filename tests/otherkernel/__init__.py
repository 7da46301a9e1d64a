"""Debian's stock kernel under emulation: `python -m tests.otherkernel -- COMMAND...` runs a command on it.

A processor emulated by qemu boots the kernel (`stock`) from a small initramfs (`initramfs`, ``init.sh``) and sees this
machine's files, read-only, under an overlay in its own memory (`machine`). So every program that is installed here runs
there, unchanged, but for the kernel under it. ``inside`` holds what the tests run there.
"""
