"""What the checks of a vassal have in common: its settings, where it stands, and who it is at which moment."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

from imperator.cli.access import Person
from imperator.config.given import COMMAND_LINE, Configuration, Given
from imperator.config.instance_settings import InstanceSettings
from imperator.kernel.credentials import gid_of, uid_of


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One vassal, as far as it is known."""

    settings: InstanceSettings
    configuration: Configuration
    directory: str
    """Where it is started."""
    environ: Mapping[str, str]
    starter: Person
    """As whom it is started."""
    unsure: frozenset[str]
    """Options whose values are not known for certain."""
    is_stranger: bool = False
    """Whoever looks has fewer rights than the vassal: what is hidden from them, the vassal perhaps finds."""

    def is_hidden(self, path: str) -> bool:
        """Is this path where only the vassal gets to? Then nothing can be said about it."""
        if not self.is_stranger:
            return False
        try:
            os.stat(path)
        except PermissionError:
            return True
        except (OSError, ValueError):
            return False
        return False

    @property
    def is_elsewhere(self) -> bool:
        """It has another root directory, or mounts of its own: its paths mean nothing here."""
        return (
            self.settings.chroot is not None
            or bool({"fs", "mount"} & set(self.settings.unshare))
            or any(given.key in ("pivot-root", "pivot_root", "unshare2", "jailed") for given in self.configuration)
        )

    @property
    def may_change(self) -> bool:
        """A hook may make what is not there yet."""
        settings = self.settings
        return any(
            (
                settings.hook_asap,
                settings.hook_pre_jail,
                settings.hook_in_jail,
                settings.hook_post_jail,
                settings.hook_as_root,
                settings.hook_as_user,
            )
        )

    @property
    def base(self) -> str:
        """The working directory once ``chdir`` has acted."""
        return os.path.join(self.directory, self.settings.chdir or "")

    @property
    def runner(self) -> Person:
        """As whom it runs, once it has dropped its rights."""
        starter = self.starter
        if starter.uid != 0:
            return starter
        try:
            uid = 0 if self.settings.uid is None else uid_of(self.settings.uid)
            gid = self._gid(uid) if self.settings.gid is None else gid_of(self.settings.gid)
        except LookupError:  # told of as such
            return starter
        return Person(uid, gid, initgroups=True) if uid else starter

    def _gid(self, uid: int) -> int:
        try:
            return pwd.getpwuid(uid).pw_gid
        except KeyError:
            return self.starter.gid

    def where(self, *keys: str) -> str:
        """The place of the last of these options that has a value."""
        given = self._last(keys)
        return COMMAND_LINE if given is None else given.where

    def key(self, *keys: str) -> str:
        """Under which of its names an option was given."""
        given = self._last(keys)
        return keys[0] if given is None else given.key

    def _last(self, keys: tuple[str, ...]) -> Given | None:
        options = (given for given in reversed(self.configuration.given) if not given.placeholder)
        return next((given for given in options if given.key in keys), None)
