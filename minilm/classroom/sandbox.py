"""Takes disk, network, other processes, memory and time away from a process before a student's code runs in it.

Landlock (Linux 5.13) closes the disk but for one folder, a seccomp filter closes sockets, new processes, signals and
owners of files, rlimits bound time, memory and file sizes. None of it needs root, and none can be undone from within.
Where the system lacks a part, `confine` says so in words. This file knows nothing of labs.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

# Landlock: https://docs.kernel.org/userspace-api/landlock.html. Its system calls have the same numbers everywhere.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
READ, READ_FILE = 0b1101, 0b100  # execute 1, write 2, read 4, list 8, ... in the order of the kernel's table
WRITE_SCRATCH = 0b100_0001_1011_1110  # everything but execution, devices, sockets and links
RIGHTS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}  # how many rights each version knows, 16 from the fifth on
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER_MODE = 38, 22, 2

# Refused system calls: name -> number on (x86_64, aarch64); None where the machine lacks it.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "setrlimit": (160, 164),
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "setns": (308, 268),
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "fanotify_init": (300, 262),
    "swapon": (167, 224),
    "acct": (163, 89),
    "syslog": (103, 116),
    "kexec_load": (246, 104),
    "mount": (165, 40),
    "umount2": (166, 39),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "sethostname": (170, 161),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utimensat": (280, 88),
    "utimes": (235, None),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
}
# machine -> (audit number, column of REFUSED, clone, clone3, prlimit64)
MACHINES = {"x86_64": (0xC000003E, 0, 56, 435, 302), "aarch64": (0xC00000B7, 1, 220, 435, 261)}
CLONE_THREAD, CLONE_NEWUSER, EPERM, ENOSYS = 0x10000, 0x10000000, 1, 38
CAPABILITIES_3 = 0x20080522  # the version of capset's header
DIE_WITH_PARENT, SIGKILL = 1, 9
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


def confine(
    scratch: Path, seconds: float, megabytes: int, file_megabytes: int, landlock: bool = True
) -> tuple[str, list[str]]:
    """Takes everything away for the rest of this process's life.

    Returns the name that the scratch folder has from now on, and what the system could not take, in words. Without
    Landlock (an old kernel, or `landlock=False`) the scratch folder becomes the root of the disk; then nothing can be
    imported any more that is not loaded yet.
    """
    missing = [] if _limits(seconds, megabytes, file_megabytes) else ["limits of time, memory and file size"]
    if not sys.platform.startswith("linux"):
        return str(scratch), [*missing, "disk", "network", "processes"]
    libc, name = ctypes.CDLL(None, use_errno=True), str(scratch)
    libc.prctl(DIE_WITH_PARENT, SIGKILL, 0, 0, 0)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if not (landlock and _landlock(libc, scratch)):
        if _new_root(libc, scratch):
            name = ""
        else:
            missing.append("disk (neither Landlock nor a root of its own in this system)")
    _drop_capabilities(libc)
    if not _seccomp(libc):
        missing += ["network (no seccomp here)", "processes (no seccomp here)"]
    return name, missing


def has_landlock() -> bool:
    """Whether this system's kernel can close the disk but for chosen folders."""
    if not sys.platform.startswith("linux"):
        return False
    return ctypes.CDLL(None).syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1) >= 1


def _new_root(libc: ctypes.CDLL, scratch: Path) -> bool:
    """Makes the scratch folder the root; whoever is not root may do so in a user namespace, where those are allowed."""
    try:
        if os.geteuid() != 0 and libc.unshare(CLONE_NEWUSER) != 0:
            return False
        os.chroot(scratch)
        os.chdir("/")
    except OSError:
        return False
    return True


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Leaves root no more rights than its name: no priorities, devices, foreign files or ways out of a root."""
    header, nothing = struct.pack("=Ii", CAPABILITIES_3, 0), bytes(24)
    libc.capset(header, nothing)


def readable() -> list[str]:
    """Where Python and its libraries live. Nothing of a project that only happens to be importable."""
    paths = sysconfig.get_paths()
    places = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {
        entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages", "lib-dynload"))
    }
    places |= {"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", f"{sys.base_prefix}/lib"}
    return sorted(place for place in places if Path(place).is_dir())


def _limits(seconds: float, megabytes: int, file_megabytes: int) -> bool:
    try:
        import resource
    except ImportError:  # Windows
        return False
    used = int(time.process_time())  # a process that was not forked has loaded torch already
    bounds = {"RLIMIT_CPU": used + int(seconds) + 2, "RLIMIT_FSIZE": file_megabytes << 20, "RLIMIT_CORE": 0}
    bounds["RLIMIT_NOFILE"] = 64
    if not sys.platform.startswith("linux"):  # there seccomp refuses processes, and lets torch have threads
        bounds["RLIMIT_NPROC"] = 0
    else:  # torch alone maps gigabytes that it never touches; count from here
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bounds["RLIMIT_AS"] = pages * resource.getpagesize() + (megabytes << 20)
    for name, bound in bounds.items():
        _, hard = resource.getrlimit(getattr(resource, name))
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(getattr(resource, name), (bound, bound))
    return True


def _landlock(libc: ctypes.CDLL, scratch: Path) -> bool:
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rights = (1 << RIGHTS_BY_VERSION.get(version, 16)) - 1
    network = 0b11 if version >= 4 else 0  # bind and connect
    scopes = 0b11 if version >= 6 else 0  # abstract sockets and signals to outside
    attributes = struct.pack("=QQQ", rights, network, scopes)[
        : 8 if version < 4 else 16 if version < 6 else 24
    ]
    ruleset = libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    for place in readable():
        _allow(libc, ruleset, place, READ & rights)
    _allow(libc, ruleset, str(scratch), WRITE_SCRATCH & rights)
    for device, right in (("/dev/null", 0b110), ("/dev/urandom", READ_FILE), ("/etc/localtime", READ_FILE)):
        if Path(device).exists():
            _allow(libc, ruleset, device, right)
    done = libc.syscall(RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return done


def _allow(libc: ctypes.CDLL, ruleset: int, place: str, rights: int) -> None:
    descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", rights, descriptor)
    libc.syscall(ADD_RULE, ruleset, 1, rule, 0)
    os.close(descriptor)


def _seccomp(libc: ctypes.CDLL) -> bool:
    if platform.machine() not in MACHINES or sys.maxsize < 2**32:
        return False
    program = _program(platform.machine())
    instructions = b"".join(struct.pack("=HBBI", *one) for one in program)
    memory = ctypes.create_string_buffer(instructions)
    header = struct.pack("@HP", len(program), ctypes.addressof(memory))
    return libc.prctl(SET_SECCOMP, FILTER_MODE, header, 0, 0) == 0


def _program(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter in the kernel's little language: (operation, jump if true, jump if false, number)."""
    audit, column, clone, clone3, prlimit = MACHINES[machine]
    refused = [numbers[column] for numbers in REFUSED.values() if numbers[column] is not None]
    program = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, audit), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    program += _if((AT_LEAST, 0x40000000), [(RETURN, 0, 0, REFUSE | EPERM)])  # x86's second set of numbers
    for number in refused:
        program += _if((EQUAL, int(number or 0)), [(RETURN, 0, 0, REFUSE | EPERM)])
    program += _if((EQUAL, clone3), [(RETURN, 0, 0, REFUSE | ENOSYS)])  # libc then falls back to clone
    # clone makes threads (allowed) or processes; arguments lie from byte 16 on, eight bytes each
    threads = [(LOAD, 0, 0, 16), *_if((ANY_BIT, CLONE_THREAD), [(RETURN, 0, 0, ALLOW)])]
    program += _if((EQUAL, clone), [*threads, (RETURN, 0, 0, REFUSE | EPERM)])
    # prlimit reads limits (allowed) or, with a third argument, sets them; root could raise its own
    zero = [
        (LOAD, 0, 0, 32),
        (EQUAL, 0, 2, 0),
        (LOAD, 0, 0, 36),
        (EQUAL, 1, 0, 0),
        (RETURN, 0, 0, REFUSE | EPERM),
    ]
    program += _if((EQUAL, prlimit), [*zero, (RETURN, 0, 0, ALLOW)])
    return [*program, (RETURN, 0, 0, ALLOW)]


def _if(test: tuple[int, int], then: Sequence[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    return [(test[0], 0, len(then), test[1]), *then]


def describe_missing(missing: Sequence[str]) -> str:
    """One sentence for the teacher.

    >>> describe_missing([])
    'submissions are confined: no disk beyond a scratch folder, no network, no processes, bounded time and memory'
    """
    if not missing:
        return (
            "submissions are confined: no disk beyond a scratch folder, no network, no processes, "
            "bounded time and memory"
        )
    return (
        f"this system cannot confine submissions in: {', '.join(missing)}; grade strangers' files elsewhere"
    )
