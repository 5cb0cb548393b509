"""Object stores: the implementations that store the files of images."""
