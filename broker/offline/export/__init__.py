"""Files of entries that were taken out of the log, each row with everything that proves it.

One row is one line, or one row of a Parquet file. What a row says in words is made from what proves it, and is
made again by whoever verifies, so that no word of it can be changed alone.
"""
