#include <pthread.h>
#include <stdio.h>

int square(int n) { return n * n; }

static void *thread(void *argument) {
    *(int *)argument = square(7);
    return NULL;
}

int main(void) {
    int answer = 0;
    pthread_t id;
    if (pthread_create(&id, NULL, thread, &answer)) return 1;
    pthread_join(id, NULL);
    printf("c %d\n", answer);
    return 0;
}
