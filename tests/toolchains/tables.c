#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Asks for its own number through the call tables of 32-bit programs and of x32. */
int main(void) {
    pid_t child = fork();
    if (child == 0) {
        int answer;
        __asm__ volatile("int $0x80" : "=a"(answer) : "a"(20) : "memory");
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    printf("i386 %s\n", WIFSIGNALED(status) ? "killed" : "REACHED");
    long answer = syscall(0x40000000 | SYS_getpid);
    printf("x32 %s\n", answer < 0 && errno == ENOSYS ? "missing" : "REACHED");
    return 0;
}
