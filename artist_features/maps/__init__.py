"""Maps and pictures: two-dimensional layout, its HTML page, a recording's log-mel."""
