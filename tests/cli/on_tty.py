"""on_tty.py OUT COMMAND..: runs the command on a pseudo-terminal of 80 columns (TTY_COLUMNS), writes what it shows to OUT; exit code of the command."""
import fcntl, os, pty, struct, sys, termios

pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(os.environ.get("TTY_COLUMNS", 80)), 0, 0))
with open(sys.argv[1], "wb") as out:
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:  # Linux says EIO when the other side has closed
            break
        if not data:
            break
        out.write(data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
