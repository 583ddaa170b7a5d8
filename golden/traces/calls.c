/* Makes one of each call that the strace reader knows: gcc -o calls calls.c -lpthread; strace -f -y -s 8 -o calls.strace ./calls */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define ODD "a b,c<d>(e.bin"

static char buf[9000];

static void *reader(void *unused) {
	int fd = open(ODD, O_RDONLY);
	for (int i = 0; i < 20; i++) pread(fd, buf, 100, i * 100);
	close(fd);
	return unused;
}

int main(void) {
	memset(buf, 'x', sizeof buf);
	int fd = open(ODD, O_RDWR | O_CREAT | O_TRUNC, 0644);
	write(fd, buf, 9000);
	pwrite(fd, buf, 100, 20000);
	struct iovec v[2] = {{buf, 100}, {buf, 200}};
	pwritev(fd, v, 2, 4096);
	lseek(fd, 0, SEEK_SET);
	readv(fd, v, 2);
	preadv(fd, v, 2, 50);
	preadv2(fd, v, 2, -1, 0);
	lseek(fd, -10, SEEK_END);
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	readahead(fd, 0, 4096);
	ftruncate(fd, 10000);
	truncate(ODD, 9000);
	fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096);
	fallocate(fd, 0, 0, 16384);
	fsync(fd);
	fdatasync(fd);
	int d = dup(fd), e = dup2(fd, 20);
	fcntl(fd, F_DUPFD_CLOEXEC, 30);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	madvise(p, 4096, MADV_WILLNEED);
	mprotect(p, 4096, PROT_READ);
	munmap(p, 4096);
	msync(p + 4096, 4096, MS_SYNC);
	int out = open("out\303\251", O_WRONLY | O_CREAT, 0600);
	off_t off = 0;
	copy_file_range(fd, &off, out, 0, 5000, 0);
	off = 0;
	sendfile(out, fd, &off, 100);
	int pipes[2];
	pipe(pipes);
	off = 0;
	splice(fd, &off, pipes[1], 0, 4000, 0);
	splice(pipes[0], 0, out, 0, 4000, 0);
	int log = open("log", O_WRONLY | O_CREAT | O_APPEND, 0600);
	write(log, buf, 700);
	lseek(log, 0, SEEK_SET);
	write(log, buf, 300);
	close(log);
	pthread_t t[2];
	for (int i = 0; i < 2; i++) pthread_create(&t[i], 0, reader, 0);
	for (int i = 0; i < 2; i++) pthread_join(t[i], 0);
	if (!fork()) {
		lseek(fd, 0, SEEK_SET);
		read(fd, buf, 50);
		execl("/bin/cat", "cat", ODD, NULL);
	}
	wait(0);
	read(e, buf, 10);
	struct stat st;
	stat("out\303\251", &st);
	fstat(d, &st);
	lstat(".", &st);
	rename("out\303\251", "out2");
	link("out2", "out3");
	unlink("out2");
	unlinkat(AT_FDCWD, "out3", 0);
	int tmp = open(".", O_TMPFILE | O_RDWR, 0600);
	write(tmp, "hi", 2);
	sync();
	syncfs(fd);
	sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	close_range(20, 40, 0);
	struct statx sx;
	statx(AT_FDCWD, "calls.c", 0, STATX_SIZE, &sx);
	mremap(p + 4096, 4096, 8192, MREMAP_MAYMOVE);
	if (vfork() == 0) _exit(0);
	int memory = memfd_create("q", 0);
	write(memory, "x", 1);
	int zero = open("/dev/zero", O_RDONLY);
	read(zero, buf, 10);
	return 0;
}
