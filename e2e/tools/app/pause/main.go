// Command pause holds a pod's namespaces: it does nothing until it is asked to end.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, syscall.SIGINT, syscall.SIGTERM)
	<-ask
}
