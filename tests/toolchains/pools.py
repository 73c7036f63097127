"""Threads, child processes, shared memory and semaphores."""
import concurrent.futures, multiprocessing, os, subprocess, sys, threading
from multiprocessing import shared_memory


def square(n):
    return n * n


def fill(name):
    block = shared_memory.SharedMemory(name=name)
    block.buf[0] = 42
    block.close()


if __name__ == "__main__":
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        threaded = sum(threads.map(square, range(4)))
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(square, range(4)) == [0, 1, 4, 9], method
    block = shared_memory.SharedMemory(create=True, size=4096)
    child = multiprocessing.Process(target=fill, args=(block.name,))
    child.start()
    child.join()
    shared = block.buf[0]
    block.close()
    block.unlink()
    said = subprocess.run([sys.executable, "-c", "print('child')"], capture_output=True, text=True, check=True)
    print("python", threaded, shared, said.stdout.strip(), len(os.sched_getaffinity(0)) > 0)
