// Many goroutines that write many files: the runtime's preemption signals meet slow opens.
package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
)

func main() {
	var group sync.WaitGroup
	faults := make(chan error, 1000)
	for writer := 0; writer < 22; writer++ {
		group.Add(1)
		go func(writer int) {
			defer group.Done()
			for file := 0; file < 15; file++ {
				path := filepath.Join("src", "out", fmt.Sprintf("%d-%d", writer, file))
				if err := os.WriteFile(path, []byte(path), 0o644); err != nil {
					faults <- err
				}
			}
		}(writer)
	}
	group.Wait()
	if len(faults) > 0 {
		fmt.Println("failed", len(faults), <-faults)
		os.Exit(1)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	listener.Close()
	files, _ := os.ReadDir(filepath.Join("src", "out"))
	fmt.Println("go", len(files))
}
