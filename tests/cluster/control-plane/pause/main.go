// Command pause is the process of a pod's sandbox container in the node tests:
// it waits until it is told to stop. Static and alone in its image.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
