"""The notebook's folder, out and back."""

from .folders import FolderSync
from .report import RemoteFolder, Report

__all__ = ["FolderSync", "RemoteFolder", "Report"]
