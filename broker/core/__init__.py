"""The pure core: functions of their arguments, without I/O, clock, await or network libraries."""
