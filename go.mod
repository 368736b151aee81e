module rufus_exporter

go 1.26.0
