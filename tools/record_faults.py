#!/usr/bin/env python3
"""Records every first touch of a program's memory: one run with huge pages off, for `quire import faults`.

    record_faults.py -o run.faults.gz PROGRAM ARGUMENT…     records; needs root and tracefs
    record_faults.py --measure PROGRAM ARGUMENT…            runs it as the system is set and says faults and memory, as JSON

Huge pages are off for the program and its children alone (PR_SET_THP_DISABLE); no setting of the system is changed. What
faulted and what changed the address space comes from a tracefs instance of its own; the areas that a program starts with and
what the kernel counted when it ended are read while it stands still (ptrace). docs/recording.md says more.
"""
import argparse, ctypes, gzip, json, os, platform, re, signal, struct, sys, time

TRACEFS = "/sys/kernel/tracing"
PAGE = os.sysconf("SC_PAGESIZE")
PR_SET_THP_DISABLE = 41
TRACEME, CONT, SETOPTIONS, GETEVENTMSG = 0, 7, 0x4200, 0x4201
FORK, VFORK, CLONE, EXEC, EXIT = 1, 2, 3, 4, 6
OPTIONS = sum(1 << e for e in (FORK, VFORK, CLONE, EXEC, EXIT)) | 1 << 20  # killed with us
# mmap mprotect munmap brk mremap madvise clone fork vfork execve execveat clone3
CALLS = {"x86_64": (9, 10, 11, 12, 25, 28, 56, 57, 58, 59, 322, 435),
         "aarch64": (222, 226, 215, 214, 216, 233, 220, 221, 281, 435)}
libc = ctypes.CDLL(None, use_errno=True)


def ptrace(request, pid, address=0, data=0):
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(ctypes.c_long(request), ctypes.c_long(pid), ctypes.c_void_p(address), ctypes.c_void_p(data)) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}: {os.strerror(ctypes.get_errno())}")


def read(path):
    with open(path) as f:
        return f.read()


def write(path, text):
    with open(path, "w") as f:
        f.write(str(text))


class Trace:
    """A tracefs instance for one program; `mark` puts a line of ours among its events."""

    def __init__(self, kib):
        if not os.path.isdir(f"{TRACEFS}/events"):
            sys.exit(f"record_faults: no tracefs at {TRACEFS}: mount -t tracefs tracefs {TRACEFS}")
        if platform.machine() not in CALLS:
            sys.exit(f"record_faults: the system calls of {platform.machine()} are not known here")
        self.path = f"{TRACEFS}/instances/quire-{os.getpid()}"
        os.mkdir(self.path)
        write(f"{self.path}/tracing_on", 0)
        write(f"{self.path}/buffer_size_kb", kib)
        calls = " || ".join(f"id == {n}" for n in CALLS[platform.machine()])
        for event, only in (("exceptions/page_fault_user", ""), ("exceptions/page_fault_kernel", ""),
                            ("raw_syscalls/sys_enter", calls), ("raw_syscalls/sys_exit", calls),
                            ("kmem/rss_stat", "member == 0 || member == 3"), ("sched/sched_process_fork", ""),
                            ("sched/sched_prepare_exec", ""), ("sched/sched_process_exit", "")):
            if only:
                write(f"{self.path}/events/{event}/filter", only)
            write(f"{self.path}/events/{event}/enable", 1)
        for option in ("event-fork", "record-tgid"):
            write(f"{self.path}/options/{option}", 1)
        self.marker = os.open(f"{self.path}/trace_marker", os.O_WRONLY)

    def start(self, pid):
        write(f"{self.path}/set_event_pid", pid)
        write(f"{self.path}/tracing_on", 1)

    def mark(self, text):
        os.write(self.marker, f"quire {text}\n".encode())

    def save(self, out):
        write(f"{self.path}/tracing_on", 0)
        lost = 0
        for cpu in os.listdir(f"{self.path}/per_cpu"):
            lost += sum(int(n) for n in re.findall(r"(?:overrun|dropped events): (\d+)", read(f"{self.path}/per_cpu/{cpu}/stats")))
        if lost:
            sys.exit(f"record_faults: {lost} events were lost: give it a larger --buffer")
        with open(f"{self.path}/trace") as f, (gzip.open(out, "wt") if out.endswith(".gz") else open(out, "w")) as o:
            o.write("#quire-faults 1\n")
            for line in f:
                o.write(line)

    def close(self):
        if hasattr(self, "marker"):
            os.close(self.marker)
        os.rmdir(self.path)


def stat(pid):
    """Minor and major faults."""
    field = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(field[7]), int(field[9])


def memory(pid):
    """Bytes by the names of /proc/PID/status."""
    return {k: int(v) << 10 for k, v in re.findall(r"^(VmHWM|VmRSS|RssAnon|RssFile|RssShmem):\s+(\d+) kB", read(f"/proc/{pid}/status"), re.M)}


def present(pid, start, end):
    """Pages of an area that are in memory now."""
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as f:
        f.seek(start // PAGE * 8)
        words = f.read((end - start) // PAGE * 8)
    return [start + i * PAGE for i, (w,) in enumerate(struct.iter_unpack("Q", words)) if w >> 63]


def areas(pid):
    """What a program starts with: its areas, and what is in memory of those that no file backs."""
    for line in read(f"/proc/{pid}/maps").splitlines():
        m = re.match(r"([0-9a-f]+)-([0-9a-f]+) (....) \S+ \S+ (\d+) *(.*)", line)
        start, end, inode = int(m[1], 16), int(m[2], 16), int(m[4])
        if start >> 47:
            continue
        name = m[5] or "-"
        yield f"map {start:x} {end:x} {m[3]} {inode} {name[:200]}"
        if inode == 0 and name not in ("[vdso]", "[vvar]", "[vvar_vclock]"):
            for page in present(pid, start, end):
                yield f"present {page:x}"


def follow(root, trace):
    """Runs the program to its end. What the kernel counted for each process, by pid."""
    begun, ended = {}, {}
    os.waitpid(root, 0)
    ptrace(SETOPTIONS, root, 0, OPTIONS)
    if trace:
        trace.start(root)
    ptrace(CONT, root)
    status = 0
    while True:
        try:
            pid, word = os.waitpid(-1, 0x40000000)  # __WALL: threads too
        except ChildProcessError:
            return status, ended
        if os.WIFEXITED(word) or os.WIFSIGNALED(word):
            if pid == root:
                status = os.waitstatus_to_exitcode(word)
            continue
        event, sig = word >> 16, os.WSTOPSIG(word)
        if event == EXEC:
            begun[pid] = stat(pid)
            if trace:
                for line in areas(pid):
                    trace.mark(line)
                trace.mark(f"started {pid}")
        elif event == EXIT and os.path.exists(f"/proc/{pid}/status") and f"\nTgid:\t{pid}\n" in read(f"/proc/{pid}/status"):
            m, (minor, major) = memory(pid), stat(pid)
            if m:
                minor0, major0 = begun.get(pid, (0, 0))
                ended[pid] = {"command": read(f"/proc/{pid}/comm").strip(), "minor_faults": minor - minor0, "major_faults": major - major0,
                              "rss": m["VmRSS"], "rss_anon": m["RssAnon"], "rss_file": m["RssFile"] + m["RssShmem"], "peak": m["VmHWM"]}
                if trace:
                    trace.mark(f"ended {pid} {minor - minor0} {major - major0} {m['VmRSS']} {m['VmHWM']}")
        ptrace(CONT, pid, 0, sig if event == 0 and sig not in (signal.SIGTRAP, signal.SIGSTOP) else 0)


def main():
    ap = argparse.ArgumentParser(usage="%(prog)s (-o FILE | --measure) PROGRAM ARGUMENT…")
    ap.add_argument("-o", metavar="FILE", help="write the recording here; packed where the name ends in .gz")
    ap.add_argument("--measure", action="store_true", help="run as the system is set, record nothing, print what the kernel counted")
    ap.add_argument("--buffer", type=int, default=65536, metavar="KIB", help="trace buffer of each processor (65536)")
    ap.add_argument("program", nargs=argparse.REMAINDER)
    o = ap.parse_args()
    if not o.program or bool(o.o) == o.measure:
        ap.error("expected -o FILE or --measure, and a program")
    trace = None
    try:
        if o.o:
            trace = Trace(o.buffer)
        root = os.fork()
        if root == 0:
            if trace and libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0:
                os._exit(126)
            ptrace(TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            try:
                os.execvp(o.program[0], o.program)
            except OSError as e:
                print(f"record_faults: {o.program[0]}: {e.strerror}", file=sys.stderr)
                os._exit(127)
        status, ended = follow(root, trace)
        if trace:
            trace.save(o.o)
        json.dump({"program": o.program, "status": status, "processes": list(ended.values())}, sys.stderr if trace else sys.stdout)
        print(file=sys.stderr if trace else sys.stdout)
    finally:
        if trace:
            for _ in range(20):
                try:
                    trace.close()
                    break
                except OSError:
                    time.sleep(0.1)


if __name__ == "__main__":
    main()
