"""What people see: status now; notifications later."""
