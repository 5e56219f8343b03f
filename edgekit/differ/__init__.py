"""Where two models part: a bundle beside its checkpoint or another bundle, part by part, on the golden inputs (`edgekit diff`)."""
