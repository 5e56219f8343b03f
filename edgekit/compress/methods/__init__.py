"""One file a compression method; `edgekit ls methods` lists them."""
