"""UltraGCN as a model of the workbench: the three roles of a model folder around the library in src/ultragcn/."""
