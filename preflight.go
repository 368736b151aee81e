package main

import "rufus_exporter/config"

func preflightOf(flags, func() (*config.Config, error)) int { return exitFailed }
