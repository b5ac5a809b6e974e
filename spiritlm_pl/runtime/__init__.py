"""What every room stands on: devices, files written whole, where things came from, interrupts."""
