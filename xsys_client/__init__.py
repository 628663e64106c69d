"""The Python client of xsys: what the browser offers, from scripts and notebooks, typed by the contracts."""

from contracts.errors import XsysError as Refusal
from xsys_client.workbench import Workbench, connect

__all__ = ["Refusal", "Workbench", "connect"]
