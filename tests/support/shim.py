"""fault_shim.c in the environment of a program: the platform fails while it runs."""
import mmap
import os
import pathlib
import struct
import tempfile

from support.rootstock import BUILD

FOLDER = pathlib.Path(BUILD) / "tests" / "support"
FIELDS = {"clock_shift_s": (0, "q"), "malloc_every": (8, "I"), "malloc_refused": (12, "I"), "disk_full": (16, "I"),
          "disk_refused": (20, "I"), "address": (24, "64s")}
SIZE = 88


class Shim:
    """The numbers that the preloaded library reads; env starts a program with it.

    memory: also those of memory, which does not go together with a sanitizer.
    """

    def __init__(self, memory=False):
        self.file = tempfile.NamedTemporaryFile(prefix="rootstock-shim-")
        self.file.truncate(SIZE)
        self.map = mmap.mmap(self.file.fileno(), SIZE)
        library = FOLDER / ("libfault_memory.so" if memory else "libfault_shim.so")
        options = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.env = {"LD_PRELOAD": str(library), "FAULT_SHIM": self.file.name, "ASAN_OPTIONS": options}

    def set(self, name, value):
        """From now on."""
        place, kind = FIELDS[name]
        struct.pack_into(kind, self.map, place, value)

    def get(self, name):
        """The value now."""
        place, kind = FIELDS[name]
        return struct.unpack_from(kind, self.map, place)[0]

    def close(self):
        """The file goes."""
        self.map.close()
        self.file.close()
