"""Which probe carries out which declared check."""

from __future__ import annotations

from functools import partial

from lbctl.core.model import Check, DicomEchoCheck, TcpCheck
from lbctl.probes.dicom import probe_dicom_echo
from lbctl.probes.port import Probe
from lbctl.probes.tcp import probe_tcp


def probe_for(check: Check) -> Probe:
    """The configured probe of a check; address, port and time-out come with the `Target`."""
    match check:
        case TcpCheck():
            return probe_tcp
        case DicomEchoCheck():
            return partial(probe_dicom_echo, calling_ae=check.calling_ae, called_ae=check.called_ae)
