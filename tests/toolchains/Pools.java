import java.nio.file.*;
import java.util.concurrent.*;
import java.util.stream.*;

/** Threads, files and a child process. */
public class Pools {
    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        int sum = 0;
        for (Future<Integer> square : pool.invokeAll(
                IntStream.range(0, 10).<Callable<Integer>>mapToObj(n -> () -> n * n).collect(Collectors.toList()))) {
            sum += square.get();
        }
        pool.shutdown();
        Path file = Files.createTempFile("pools", ".txt");
        Files.writeString(file, "written");
        Process child = new ProcessBuilder("cat", file.toString()).start();
        String said = new String(child.getInputStream().readAllBytes());
        System.out.println("java " + sum + " " + said + " " + child.waitFor());
    }
}
